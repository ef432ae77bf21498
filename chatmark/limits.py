"""The limits of the API."""

from typing import Final

# https://www.tencentcloud.com/document/product/1047/34381 names these limits. A group id has 48
# bytes at most, but the id of a topic inside a group has 96, and no page says that a mark may not
# name a topic.
MAX_USER_ID_BYTES: Final = 32
MAX_GROUP_ID_BYTES: Final = 96
# https://www.tencentcloud.com/document/product/1047/53438: more than 100 items give 51006.
MAX_CUSTOM_MARK_BYTES: Final = 256
MAX_ITEMS: Final = 100
# https://www.tencentcloud.com/document/product/1047/53442
MAX_SEARCHED: Final = 300
# The pages of 2026-04-14 allow so many bytes; older ones, and the text of 51011, allow 32
# (https://www.tencentcloud.com/document/product/1047/53437).
MAX_GROUP_NAME_BYTES: Final = 64
# Characters that are kept of a text of the server.
MOST_TEXT: Final = 1_000
