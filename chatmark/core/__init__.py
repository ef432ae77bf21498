"""
The decisions of a session, without I/O: which change goes into which request, and how it ends.
"""
