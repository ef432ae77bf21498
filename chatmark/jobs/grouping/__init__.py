"""Changes grouped by user and merged by conversation, so that they fill requests."""
