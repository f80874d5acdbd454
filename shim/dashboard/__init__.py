"""The dashboard: versions, jobs, warnings and charts, gathered from files and job records."""
