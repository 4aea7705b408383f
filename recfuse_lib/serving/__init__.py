"""From a trained model to a service that answers, and from the service's events back to a better model.

Taught in notebooks 18 and 19.
"""
