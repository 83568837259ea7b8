"""notus-exp: how the curation of AI feedback changes the model that is trained on it."""
