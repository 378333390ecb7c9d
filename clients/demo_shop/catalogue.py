"""Warehouses, products, suppliers and stock of the demo shop."""

from datetime import date, timedelta
from random import Random

from clients.demo_shop import words
from common.call import Call
from common.rules import stock
from common.tables.fleet import Depot, Driver, DutyRule, Vehicle
from common.tables.inventory import (
    ItemCost,
    Product,
    ReorderPolicy,
    Supplier,
    SupplierItem,
    Variant,
    Warehouse,
)
from common.tables.logistics import Carrier, RateCard
from common.tables.orders import TaxRate
from common.tables.returns import ReturnPolicy

EUR = "EUR"
SHORT_SKU = "COF-0101"


def lay_out(call: Call, rng: Random) -> list[Variant]:
    """Everything that stands before the first order. Returns the variants, popular ones often."""
    _places(call)
    variants = _products(call, rng)
    _terms(call)
    return variants


def gtin13(number: int) -> str:
    """A GTIN-13 of the range kept for use inside a company (prefix 20), with its check digit."""
    body = f"20{number:010d}"
    weighted = sum(int(digit) * (3 if index % 2 else 1) for index, digit in enumerate(body))
    return f"{body}{-weighted % 10}"


def _places(call: Call) -> None:
    session = call.session
    for id, name, region, city, postal_code, lat, lon in words.WAREHOUSES:
        address = {"line1": "Am Lager 1", "city": city, "postal_code": postal_code, "country": "DE"}
        session.add(
            Warehouse(
                id=id, name=name, region=region, address=address, lat_e6=lat, lon_e6=lon,
                timezone="Europe/Berlin",
            )
        )  # fmt: skip
        session.flush()
        session.add(
            Depot(
                id=f"DEP-{id[3:]}", name=name, warehouse_id=id, address=address, lat_e6=lat,
                lon_e6=lon, timezone="Europe/Berlin",
            )
        )  # fmt: skip
        session.flush()
        for number in (1, 2):
            session.add(
                Vehicle(
                    id=f"VAN-{id[3:]}-{number}", name=f"Van {number} {name}",
                    plate=f"SHOP {id[3:5]} {number}", depot_id=f"DEP-{id[3:]}",
                    capacity_weight_g=800_000, capacity_volume_cm3=6_000_000,
                    cost_per_km_minor=45, fixed_cost_minor=2_500, currency=EUR,
                )
            )  # fmt: skip
    session.flush()
    _duty_rules(call)
    for id, name, warehouse in words.DRIVERS:
        session.add(
            Driver(
                id=id, name=name, depot_id=f"DEP-{warehouse[3:]}", status="available",
                status_at=call.now, shift_start_minute=7 * 60, shift_end_minute=16 * 60,
                max_driving_seconds=9 * 3_600, duty_rule_id="eu-561",
            )
        )  # fmt: skip
    for id, name, lead, spread, _, _ in words.SUPPLIERS:
        session.add(Supplier(id=id, name=name, contact=f"Orders at {name}", currency=EUR))
        assert lead > spread
    session.flush()


def _products(call: Call, rng: Random) -> list[Variant]:
    session = call.session
    weighted: list[Variant] = []
    number = 0
    for category, popularity, prices, weights, names, options in words.CATEGORIES:
        for index, name in enumerate(names, 1):
            product = Product(
                id=f"prd-{category[:3].lower()}-{index:02}", name=name, category=category,
                restockable=category not in ("Pantry", "Bath"),
                final_sale=(category, index) == ("Toys", 6),
            )  # fmt: skip
            session.add(product)
            session.flush()
            base = rng.randint(prices[0] * 100, prices[1] * 100)
            for position, option in enumerate(options):
                number += 1
                price = base * (100 + 35 * position) // 100 // 10 * 10 + 9
                variant = Variant(
                    id=f"{category[:3].upper()}-{index:02}{position + 1:02}",
                    product_id=product.id, position=position, name=f"{name}, {option}",
                    options={"kind": option}, gtin=gtin13(number), price_minor=price,
                    unit_cost_minor=price * rng.randint(42, 61) // 100, currency=EUR,
                    weight_g=rng.randint(*weights), length_mm=rng.randint(90, 320),
                    width_mm=rng.randint(60, 240), height_mm=rng.randint(30, 180),
                )  # fmt: skip
                session.add(variant)
                weighted += [variant] * max(1, popularity - position - index // 3)
    session.flush()
    unique = {variant.id: variant for variant in weighted}
    for variant in unique.values():
        _supply(call, rng, variant, weighted.count(variant))
    session.flush()
    return weighted


def _supply(call: Call, rng: Random, variant: Variant, popularity: int) -> None:
    supplier, _, lead, spread, minimum, pack = words.SUPPLIERS[
        sum(map(ord, variant.product_id)) % len(words.SUPPLIERS)
    ]
    cost = variant.unit_cost_minor or 1
    call.session.add(
        SupplierItem(
            id=f"{supplier}:{variant.id}", supplier_id=supplier, sku=variant.id,
            supplier_sku=f"{supplier[4:6].upper()}-{(variant.gtin or '')[-6:]}",
            unit_cost_minor=cost, currency=EUR, minimum_order=minimum, pack_multiple=pack,
            lead_time_millidays=lead * 1_000, lead_time_sd_millidays=spread * 1_000,
            preferred=True,
        )
    )  # fmt: skip
    for id, *_ in words.WAREHOUSES:
        units = rng.randint(6, 14) * (popularity + 1)
        if (variant.id, id) == (SHORT_SKU, "WH-NORTH"):
            units = 4
        call.session.add(
            ReorderPolicy(
                id=f"{variant.id}:{id}", sku=variant.id, warehouse_id=id, supplier_id=supplier,
                minimum=popularity * 2, maximum=popularity * 16,
            )
        )  # fmt: skip
        call.session.add(
            ItemCost(
                id=f"cost:{variant.id}:{id}", sku=variant.id, warehouse_id=id,
                average_cost_e6=cost * 1_000_000, currency=EUR, at=call.now - timedelta(days=90),
            )
        )  # fmt: skip
        stock.move(call, variant.id, id, "opening", "available", units, "opening", f"opening:{id}")


def _duty_rules(call: Call) -> None:
    """Settings to start from, with where they are from: no advice on the law. The day's limits
    (EU 9 hours of driving; US 11 of driving, 14 on duty) are each driver's own. ``as_of`` is the
    day on which the figures were looked up, in the pages that ``source`` names."""
    for id, name, driving, rest, source in (
        (
            "eu-561", "EU: 45 minutes after 4 h 30 min of driving", 16_200, 2_700,
            "Regulation (EC) No 561/2006, articles 6 and 7: 9 h of driving a day, 45 min of break "
            "after 4.5 h, for goods vehicles above 3.5 t. Read in accounts of it, not in the "
            "regulation: to be confirmed by the shop. Configuration, not advice on the law.",
        ),
        (
            "us-395", "US: 30 minutes after 8 h of driving", 28_800, 1_800,
            "49 CFR 395.3: 11 h of driving within a window of 14 h, 30 min of break after 8 h. "
            "Read in the Motor Carrier Safety Planner of the FMCSA, not in the rule: to be "
            "confirmed by the shop. Configuration, not advice on the law.",
        ),
    ):  # fmt: skip
        call.session.add(
            DutyRule(
                id=id, name=name, drive_before_break_seconds=driving, break_seconds=rest,
                source=source, as_of=date(2026, 11, 29),
            )
        )  # fmt: skip
    call.session.flush()


def _terms(call: Call) -> None:
    session = call.session
    session.add(Carrier(id="post", name="Parcel Post", connection="simulator"))
    session.add(
        Carrier(id="swift", name="Swift Courier", dim_divisor=4_000, connection="simulator")
    )
    session.add(Carrier(id="own", name="Own vans", own_fleet=True, dim_divisor=0))
    session.flush()
    start = (call.now - timedelta(days=365)).date()
    for carrier, service, base, per_kg, days in (
        ("post", "standard", 399, 60, (2, 4)),
        ("post", "economy", 299, 45, (4, 7)),
        ("swift", "express", 990, 180, (1, 1)),
    ):
        session.add(
            RateCard(
                id=f"{carrier}:{service}", carrier_id=carrier, service=service,
                max_weight_g=31_500, base_minor=base, per_kg_minor=per_kg, fuel_bps=500,
                currency=EUR, transit_days_min=days[0], transit_days_max=days[1],
                valid_from=start,
            )
        )  # fmt: skip
    for kind, rate, name in (("standard", 1_900, "VAT 19 %"), ("reduced", 700, "VAT 7 %")):
        session.add(
            TaxRate(
                id=f"DE:{kind}", country="DE", tax_class=kind, name=name, rate_bps=rate,
                included=True, valid_from=start,
            )
        )  # fmt: skip
    session.add(
        ReturnPolicy(id="standard", name="30 days from delivery", window_days=30, currency=EUR)
    )
    session.add(
        ReturnPolicy(
            id="pantry", name="Food is not taken back into stock", category="Pantry",
            window_days=14, restockable=False, returnless_up_to_minor=1_500, currency=EUR,
        )
    )  # fmt: skip
    session.flush()
