"""The report of an audit: its values, its text, and its page of HTML."""
