"""What the tests of every package share: real components, started when a test asks for them."""

pytest_plugins = ["integration_tests.components.fixtures", "integration_tests.spread"]
