"""The session: what services and jobs use."""
