"""A client of an endpoint that answers chats."""
