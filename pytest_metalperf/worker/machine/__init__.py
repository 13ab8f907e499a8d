"""The machine a run happens on: who it is (`machine_facts`) and what may spoil a run on it (`Watch`, `spoils`)."""

from .conditions import Spoil, Watch, spoils, worse
from .facts import MachineFacts, machine_facts, slug

__all__ = ["MachineFacts", "Spoil", "Watch", "machine_facts", "slug", "spoils", "worse"]
