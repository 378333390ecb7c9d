"""The words the demo shop is made of. Everything here is invented."""

from typing import Final

# id, name, region, city, postal code, latitude and longitude in millionths of a degree
WAREHOUSES: Final = (
    ("WH-NORTH", "Hamburg", "north", "Hamburg", "20457", 53_543_000, 9_988_000),
    ("WH-WEST", "Cologne", "west", "Köln", "50679", 50_937_000, 6_975_000),
    ("WH-SOUTH", "Munich", "south", "München", "80939", 48_190_000, 11_600_000),
)

# id, name, lead time and its spread in days, minimum order, pack
SUPPLIERS: Final = (
    ("sup-hanse", "Hanse Kontor", 5, 1, 24, 12),
    ("sup-rhein", "Rhein Werkstatt", 9, 2, 20, 10),
    ("sup-alpen", "Alpen Manufaktur", 14, 3, 12, 6),
    ("sup-nordic", "Nordic Supply", 7, 2, 48, 24),
    ("sup-delta", "Delta Import", 28, 6, 100, 50),
    ("sup-local", "Local Growers", 2, 1, 10, 5),
)

# category, how it sells, price range in euro, weight range in g, (products)
CATEGORIES: Final = (
    ("Coffee", 9, (6, 19), (250, 1100),
     ("House blend", "Single origin", "Decaf", "Espresso roast", "Filter roast", "Cold brew"),
     ("250 g", "500 g", "1 kg")),
    ("Tea", 6, (4, 14), (60, 300),
     ("Assam", "Sencha", "Earl grey", "Rooibos", "Mountain herbs", "Jasmine"),
     ("50 g", "100 g", "250 g")),
    ("Kitchen", 3, (12, 80), (300, 2600),
     ("Cast iron pan", "Chef's knife", "Cutting board", "Moka pot", "Hand grinder", "Kettle",
      "French press", "Mixing bowl"),
     ("small", "medium", "large")),
    ("Tableware", 4, (5, 35), (150, 900),
     ("Stoneware mug", "Dinner plate", "Cereal bowl", "Water glass", "Espresso cup", "Carafe"),
     ("white", "sage", "navy")),
    ("Textiles", 3, (9, 60), (120, 900),
     ("Linen towel", "Apron", "Table cloth", "Napkin set", "Oven glove", "Cushion cover"),
     ("natural", "blue", "rust")),
    ("Stationery", 5, (3, 25), (40, 500),
     ("Dot notebook", "Fountain pen", "Pencil set", "Desk calendar", "Letter paper", "Ink"),
     ("black", "green", "red")),
    ("Garden", 2, (7, 70), (200, 3000),
     ("Watering can", "Hand trowel", "Seed box", "Plant pot", "Gloves", "Twine", "Pruner"),
     ("standard", "premium", "gift set")),
    ("Lighting", 2, (15, 120), (300, 2500),
     ("Desk lamp", "Pendant lamp", "Night light", "Candle holder", "Lantern", "Reading light"),
     ("brass", "black", "white")),
    ("Bath", 4, (4, 40), (80, 800),
     ("Olive soap", "Bath towel", "Sponge", "Hand cream", "Shampoo bar", "Soap dish"),
     ("classic", "lavender", "cedar")),
    ("Pantry", 7, (3, 18), (200, 1200),
     ("Olive oil", "Wildflower honey", "Sea salt", "Mustard", "Jam", "Pasta", "Polenta"),
     ("small", "family", "refill")),
    ("Toys", 3, (8, 55), (100, 1500),
     ("Wooden train", "Memory game", "Building blocks", "Puzzle", "Rag doll", "Spinning top"),
     ("red", "yellow", "blue")),
    ("Outdoor", 2, (10, 90), (200, 2200),
     ("Vacuum flask", "Camp mug", "Picnic blanket", "Day pack", "Head torch", "Rain cape",
      "Trekking poles", "Dry bag"),
     ("sand", "pine", "slate")),
    ("Office", 3, (6, 75), (100, 2600),
     ("Paper tray", "Desk mat", "Cable box", "Monitor stand", "Pin board", "Book end"),
     ("oak", "walnut", "grey")),
    ("Pets", 3, (5, 45), (150, 2800),
     ("Dog bowl", "Cat ball", "Leash", "Brush", "Blanket", "Treat jar"),
     ("small", "medium", "large")),
    ("Sport", 2, (9, 65), (150, 2000),
     ("Yoga mat", "Skipping rope", "Massage ball", "Water bottle", "Resistance band", "Towel"),
     ("mint", "coral", "graphite")),
)  # fmt: skip

FIRST: Final = (
    "Ada", "Ben", "Clara", "David", "Elif", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Karla",
    "Linus", "Mara", "Nils", "Olga", "Paul", "Rosa", "Selim", "Tilda", "Uwe", "Vera", "Willi",
    "Yara", "Zoran",
)  # fmt: skip
LAST: Final = (
    "Albers", "Brandt", "Celik", "Diehl", "Engel", "Fuchs", "Gärtner", "Hahn", "Ibsen", "Jansen",
    "Keller", "Lorenz", "Mayer", "Novak", "Otto", "Peters", "Roth", "Schulz", "Thiel", "Ulrich",
    "Vogel", "Weber", "Yilmaz", "Ziegler",
)  # fmt: skip
STREETS: Final = (
    "Lindenweg", "Hafenstraße", "Am Markt", "Gartenstraße", "Bahnhofstraße", "Schulgasse",
    "Mühlenweg", "Ringstraße", "Kirchplatz", "Uferweg",
)  # fmt: skip

# city, postal code, latitude, longitude, warehouse that serves it
CITIES: Final = (
    ("Hamburg", "22765", 53_551_000, 9_935_000, "WH-NORTH"),
    ("Bremen", "28195", 53_079_000, 8_801_000, "WH-NORTH"),
    ("Lübeck", "23552", 53_866_000, 10_687_000, "WH-NORTH"),
    ("Kiel", "24103", 54_323_000, 10_123_000, "WH-NORTH"),
    ("Hannover", "30159", 52_374_000, 9_738_000, "WH-NORTH"),
    ("Lüneburg", "21335", 53_249_000, 10_409_000, "WH-NORTH"),
    ("Köln", "50667", 50_938_000, 6_957_000, "WH-WEST"),
    ("Bonn", "53111", 50_735_000, 7_102_000, "WH-WEST"),
    ("Düsseldorf", "40213", 51_225_000, 6_776_000, "WH-WEST"),
    ("Aachen", "52062", 50_776_000, 6_084_000, "WH-WEST"),
    ("Essen", "45127", 51_457_000, 7_012_000, "WH-WEST"),
    ("Dortmund", "44137", 51_514_000, 7_466_000, "WH-WEST"),
    ("München", "80331", 48_137_000, 11_575_000, "WH-SOUTH"),
    ("Augsburg", "86150", 48_366_000, 10_894_000, "WH-SOUTH"),
    ("Ingolstadt", "85049", 48_763_000, 11_425_000, "WH-SOUTH"),
    ("Regensburg", "93047", 49_017_000, 12_097_000, "WH-SOUTH"),
    ("Rosenheim", "83022", 47_856_000, 12_129_000, "WH-SOUTH"),
    ("Freising", "85354", 48_403_000, 11_741_000, "WH-SOUTH"),
)

DRIVERS: Final = (
    ("drv-mika", "Mika", "WH-NORTH"), ("drv-lena", "Lena", "WH-NORTH"),
    ("drv-onur", "Onur", "WH-WEST"), ("drv-ida", "Ida", "WH-WEST"),
    ("drv-toni", "Toni", "WH-SOUTH"), ("drv-eva", "Eva", "WH-SOUTH"),
)  # fmt: skip

# By the last digits of a customer's number: how the simulated provider treats their card.
BAD_CARDS = {17: "tok_insufficient_funds", 18: "tok_dispute", 19: "tok_timeout_done"}
