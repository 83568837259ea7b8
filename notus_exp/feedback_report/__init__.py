"""The report on the feedback itself, feedback.html: who wrote it, who rated it, how far these agree, what it cost."""
