"""The rows of a job: read and checked anywhere in the cluster, and grouped into partitions."""
