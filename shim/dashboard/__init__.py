"""The page for people: files and job records in, HTML out; its buttons queue jobs.

`view` gathers from files and job records; no network request is made but to the Redis that may hold the jobs.
`version_reports` reads the reports that training left (leniently, each once), `job_sentences` describes a job,
`recent_warnings` is a log handler that keeps the newest 50 different warnings, `project_titles` keeps titles from
webhooks; the trainer's list of projects has titles too, and the projects that have no model yet. A project
without an ML backend (`connect --remove` reports it at once) leaves the page, unless it has versions or jobs.

Every 2 s the page's script fetches `/dashboard/live`; the projects are fetched again only when `revision` changes.
What the trainer noted about Label Studio (`LAYOUTLOOP_HOME/label-studio.json`, anew at least every minute) shows a
revoked key without a request. A form counts only with an Origin or a Sec-Fetch-Site that says it is on our own
page.
"""
