"""All scenarios, by number."""

from __future__ import annotations

from tests.clients.conformance.calls import CALLS
from tests.clients.conformance.generations import GENERATIONS
from tests.clients.conformance.reading import READING
from tests.clients.conformance.resuming import RESUMING
from tests.clients.conformance.scenario import Scenario

SCENARIOS: dict[int, Scenario] = {scenario.number: scenario for scenario in (*READING, *RESUMING, *GENERATIONS, *CALLS)}
