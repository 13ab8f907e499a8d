"""The machine a run happens on: who it is (`machine_facts`), what may spoil a run on it (`Watch`), what makes it fair."""

from .conditions import Spoil, Watch, remarks, spoils, worse
from .cooling import cool_down, heat
from .counters import PER_BATCH, per_batch
from .facts import MachineFacts, machine_facts, slug
from .fair import keep_awake, user_interactive
from .system import SYSTEM, system_versions

__all__ = [
    "PER_BATCH",
    "SYSTEM",
    "MachineFacts",
    "Spoil",
    "Watch",
    "cool_down",
    "heat",
    "keep_awake",
    "machine_facts",
    "per_batch",
    "remarks",
    "slug",
    "spoils",
    "system_versions",
    "user_interactive",
    "worse",
]
