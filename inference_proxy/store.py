"""The ledger in SQL: what was served, the intensities it was charged by, and how far each spool is stored."""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, String, Table, text

from tradewind.database import UtcMicroseconds

metadata = MetaData()

_WHO = ("family", "variant", "decided", "zone", "tenant")
_SUMS = ("inferences", "energy_uj", "smallest_uj", "largest_uj", "decided_uj")

ledger = Table(
    "ledger",
    metadata,
    # The minute, or the interval's beginning where it begins inside the minute.
    Column("bucket_from", UtcMicroseconds, primary_key=True),
    Column("interval_from", UtcMicroseconds, primary_key=True),
    # Empty for models that were called by their own name.
    Column("family", String(1024), primary_key=True),
    Column("variant", String(1024), primary_key=True),
    # The variant that the decision asked for: another one where it could not serve, and in observe mode.
    Column("decided", String(1024), primary_key=True),
    Column("zone", String(64), primary_key=True),
    Column("tenant", String(128), primary_key=True),
    Column("inferences", BigInteger, nullable=False),
    Column("energy_uj", BigInteger, nullable=False),
    # What the same inferences would have cost on the permitted pool's ends.
    Column("smallest_uj", BigInteger, nullable=False),
    Column("largest_uj", BigInteger, nullable=False),
    # ... and on the decided variant.
    Column("decided_uj", BigInteger, nullable=False),
    # The part of energy_uj that was charged by what was measured in service instead of by the catalogue.
    Column("calibrated_uj", BigInteger, nullable=False, server_default=text("0")),
)

unattributed = Table(
    "ledger_unattributed",
    metadata,
    # Served while no interval was known: second by second, priced by whichever interval turns out to hold.
    Column("second_from", UtcMicroseconds, primary_key=True),
    *(Column(name, ledger.c[name].type, primary_key=True) for name in _WHO),
    *(Column(name, BigInteger, nullable=False) for name in _SUMS),
    Column("calibrated_uj", BigInteger, nullable=False, server_default=text("0")),
)

intensities = Table(
    "ledger_intensities",
    metadata,
    Column("zone", String(64), primary_key=True),
    Column("valid_from", UtcMicroseconds, primary_key=True),
    Column("valid_to", UtcMicroseconds, nullable=False),
    Column("intensity_g_per_kwh", Double, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("published_at", UtcMicroseconds, nullable=False),
    # What receipts said first; null where nothing was charged before the reading came.
    Column("charged_g_per_kwh", Double),
    Index("ix_ledger_intensities_zone_valid_to", "zone", "valid_to"),
)

spools = Table(
    "ledger_spools",
    metadata,
    Column("spool", String(64), primary_key=True),
    Column("segment", Integer, primary_key=True),
    Column("stored_bytes", BigInteger, nullable=False),
)

own_cpu = Table(
    "ledger_own_cpu",
    metadata,
    # The minute, or the beginning of the interval that was known to begin inside it.
    Column("bucket_from", UtcMicroseconds, primary_key=True),
    Column("zone", String(64), primary_key=True),
    Column("spool", String(64), primary_key=True),
    # CPU time of the proxy's own processes. What a core draws is a setting, so energy is computed when asked.
    Column("cpu_us", BigInteger, nullable=False),
)

own_processes = Table(
    "ledger_own_processes",
    metadata,
    Column("spool", String(64), primary_key=True),
    # Its id with the moment of its start.
    Column("process", String(64), primary_key=True),
    # What its counter said at the last look, and when that was.
    Column("cpu_us", BigInteger, nullable=False),
    Column("looked_at", UtcMicroseconds, nullable=False),
)

_EXECUTED = ("inferences", "failed_requests", "cached_requests")

watches = Table(
    "ledger_watches",
    metadata,
    Column("spool", String(64), primary_key=True),
    # host:port of a Triton that this proxy alone calls.
    Column("endpoint", String(255), primary_key=True),
    # From this minute on the ledger and Triton's counters may be compared.
    Column("compared_from", UtcMicroseconds, nullable=False),
    Column("looked_at", UtcMicroseconds, nullable=False),
)

triton_counters = Table(
    "ledger_triton_counters",
    metadata,
    Column("spool", String(64), primary_key=True),
    Column("endpoint", String(255), primary_key=True),
    Column("model", String(1024), primary_key=True),
    Column("version", String(64), primary_key=True),
    # What Triton's counters said at the last look.
    *(Column(name, BigInteger, nullable=False) for name in _EXECUTED),
    # Time in requests: like the others it only grows, until Triton begins anew.
    Column("busy_ns", BigInteger, nullable=False),
)

executed = Table(
    "ledger_executed",
    metadata,
    Column("minute_from", UtcMicroseconds, primary_key=True),
    Column("spool", String(64), primary_key=True),
    Column("endpoint", String(255), primary_key=True),
    Column("model", String(1024), primary_key=True),
    # What the counters grew by from the look in this minute to the next.
    *(Column(name, BigInteger, nullable=False) for name in _EXECUTED),
    Column("restarts", BigInteger, nullable=False),
)
