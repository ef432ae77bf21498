"""One call of the API: signed, sent and classified."""
