"""Reading what the server has of many users."""
