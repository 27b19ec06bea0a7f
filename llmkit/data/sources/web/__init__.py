"""Collection from the web: the pages that a user, a sitemap or a feed names, fetched politely and kept."""
