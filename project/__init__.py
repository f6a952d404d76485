"""hello-lightning: a linear model from its first tensor to production, and any other network on the same road."""
