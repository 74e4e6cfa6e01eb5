"""The database's history: one line of revisions for every service, the same on SQLite and Postgres."""
