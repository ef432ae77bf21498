"""Progress of a running job, and its report as JSON and HTML."""
