"""Many dubs: a manifest of jobs, done by workers on one machine or many, each job once."""
