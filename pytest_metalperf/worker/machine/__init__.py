"""The machine a run happens on: who it is (`machine_facts`) and what may spoil a run on it (`Watch`, `spoils`)."""

from .conditions import Spoil, Watch, spoils, worse
from .cooling import cool_down, heat
from .facts import MachineFacts, machine_facts, slug

__all__ = ["MachineFacts", "Spoil", "Watch", "cool_down", "heat", "machine_facts", "slug", "spoils", "worse"]
