"""What the tests of every package share: real components, started when a test asks for them."""

from hypothesis import HealthCheck, settings

# How fast examples are made and tried is the machine's affair, which tests run in parallel on.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

pytest_plugins = ["integration_tests.components.fixtures", "integration_tests.spread"]
