"""What the admin interface shows of a member, each page as JSON."""
