"""What a job would do, and how long it would take."""
