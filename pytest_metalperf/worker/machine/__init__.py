"""The machine a run happens on: who it is (`machine_facts`) and what may spoil a run on it (`Watch`, `spoils`)."""

from .conditions import Watch, removable, spoils
from .facts import MachineFacts, machine_facts, slug

__all__ = ["MachineFacts", "Watch", "machine_facts", "removable", "slug", "spoils"]
