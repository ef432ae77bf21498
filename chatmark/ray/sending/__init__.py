"""The changes of a job: one actor sends partition after partition, and notes each."""
