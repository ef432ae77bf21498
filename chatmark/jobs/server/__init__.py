"""Reading the conversations of many users from the server."""
