"""What documents are made of: names, goods and phrases, none of a real business on purpose."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(text.replace("\n", "").split("|"))


GIVEN_NAMES = _words("""
Amara Ben Chloe Dario Emil Freya Gustav Hana Ivan Joana Kofi Lena Marek Nadia Oscar Petra Quentin Renata Stefan Talia
Ursula Viktor Wanda Ximena Yusuf Zoe Alan Bridget Colin Deborah Edgar Fiona Gordon Helen Irene Keith Laura Martin
""")
FAMILY_NAMES = _words("""
Abbott Baumann Carvalho Dahl Eriksen Fournier Garrido Hofmann Iwasaki Jovanovic Kowalski Lefevre Mbeki Nakamura Okafor
Pereira Quist Ramaswamy Schneider Thorne Urbina Vasquez Weber Yilmaz Zimmer Barlow Chandler Dempsey Fletcher Gibson
Hartley Kendrick Lawson Mercer Norris Parkes Radcliffe Sheldon Tilbury Wexford
""")
NAME_PARTS = _words("""
Amber Anchor Apollo Atlas Beacon Bluebell Canyon Cedar Citadel Coral Crown Delta Dragonfly Echo Ember Falcon Fern
Foxglove Galaxy Golden Grove Hazel Highland Horizon Iris Jade Lakeside Lantern Linden Magnolia Maple Marble Monarch
Nimbus Northern Nova Olive Orchid Origin Pacific Peak Pebble Pine Polar Prairie Quartz Rainbow Raven Ridge Royal
Sapphire Silver Spring Summit Sunrise Swan Tulip Union Valley Vista Willow Windmill
""")
TRADES = _phrases("""
Bakery|Books|Builders Merchants|Butchers|Café|Chemist|Cycles|Deli|Department Store|Diner|Electronics|Fashion|Florist|
Food Hall|Furnishings|Garage|Garden Centre|Grill|Grocers|Hardware|Home Store|Hotel|Interiors|Kitchen|Laundry|Lighting|
Market|Medical Supplies|Motors|Music|Noodle Bar|Office Supplies|Opticians|Paints|Pharmacy|Photo|Pizzeria|Restaurant|
Salon|Seafood|Shoes|Sports|Stationers|Steel|Supermarket|Tea House|Tools|Toys|Trading|Tyres|Veterinary|Wine Cellar|
Consulting|Engineering|Freight|Insurance Brokers|Laboratories|Legal Services|Press|Research|Software|Logistics
""")
STREETS = _words("""
Acacia Ashgrove Beech Castle Chapel Cherry Clifton College Elm Fairview Grange Hillcrest Lake Liberty London Main
Meadow Mountain New North Ocean Palace Pearl Poplar Princess Queen Railway River Rose School South Stone Sunset
Temple Union Victoria Walnut Washington West Wood
""")
TOWNS = _words("""
Alderton Bayview Brookhaven Calverton Castleford Drayton Eastleigh Fairmount Glenwood Hartwell Kingsbury Lakeville
Millbrook Newhaven Oakridge Pemberton Queensbridge Rosedale Springfield Stonebridge Summerton Tilford Upton Westfield
Woodstock Weston Harrow Belmont Clifton Dunwood
""")
GOODS = _phrases("""
Apple juice 1l|Baguette|Ballpoint pens|Battery AA 4-pack|Black tea|Blue jeans|Brake pads|Brown rice 2kg|Butter|
Candles|Cappuccino large|Cheddar|Chicken salad|Chocolate cake slice|Cotton shirt|Diesel|Dish soap|Door hinge|
Drill bit set|Egg noodles|Envelopes C5|Espresso|Fish and chips|Flour|Garden gloves|Green curry|Hair cut|HDMI lead|
Ice cream|Ink cartridge|Ironing board|Jasmine rice|Ketchup|Lager 0.5l|Lamp shade|Leather belt|Lemonade|Light bulb 9W|
Masking tape|Milk 2%|Mineral water|Mixed nuts|Mushroom soup|Nails 50mm|Notebook A5|Oil filter|Olive oil|Onions|
Orange marmalade|Paint roller|Paper towels|Parking|Pasta|Peanut butter|Phone case|Plant pot|Plywood sheet|Potatoes|
Printer paper|Red wine glass|Room service|Salmon fillet|Sandpaper|Screws M6|Shampoo|Shoe polish|Socks 3 pairs|
Spark plug|Sponge|Steak medium|Stir fry vegetables|Sugar|Sunglasses|Tomatoes|Toothpaste|Towel|Umbrella|USB charger|
Vanilla yoghurt|Vitamin C|Wall paint 5l|Washing powder|Watch strap|Wheel alignment|Wood glue|Wrench 13mm|Zip ties
""")
WORDS = _words("""
about account action additional agreement all amount analysis annual any approval area attached available before between
board brand budget business call campaign change client comments committee complete concerning conditions contact
contract copy cost data decision delivery department design details development discussion distribution document during
early effect equipment evaluation every existing expected final first following full further general group help high
important include increase information initial interest issue item level local management market material matter may
meeting method month national necessary new next number objective office only operation order other our over overall
package part period person plan please point possible present price problem procedure process product program project
promotion proposed provide purchase purpose quality quarter question range rate reason receive recent recommend region
regular related reply report request require research response result review sales sample schedule section send service
several share should significant site special staff standard statement still store study subject supply support system
table target technical test these through time total trade training under unit until update used value various version
volume week which will with within without work would year your
""")
CAPTIONS = _phrases("""
Account no|Address|Age|Agent|Amount requested|Application no|Approved by|Area|Assigned to|Attention|Bank|Batch|Branch|
Brand|Budget|Building|Category|Cell phone|Checked by|City|Claim no|Class|Client|Code|Comments|Company|Completed on|
Condition|Contact person|Contract no|Copies|Cost centre|Country|County|Course|Customer|Date|Date of birth|Date received|
Date required|Delivery date|Department|Description|Destination|Director|Distribution|District|Division|Duration|E-mail|
Effective date|Employee|Employee no|Employer|End date|Equipment|Estimated cost|Event|Expiry date|Extension|Facility|
Fax|File no|First name|Floor|From|Function|Gender|Grade|Group|Height|Hours|ID number|Initials|Inspector|Instructions|
Invoice to|Item|Job title|Laboratory|Language|Last name|Length|Licence no|Location|Manager|Manufacturer|Market|
Material|Method|Middle initial|Mobile|Model|Name|Nationality|Notes|Number of pages|Objective|Occupation|Office|
Operator|Order no|Organisation|Originator|Owner|Period|Phone|Plan|Policy no|Position|Postcode|Prepared by|Priority|
Product|Program|Project|Project no|Purpose|Quantity|Rank|Reason|Received by|Reference|Region|Registration|Remarks|
Report no|Requested by|Result|Return date|Reviewed by|Room|Salary|Sample no|School|Section|Serial no|Shift|Signature|
Site|Size|Source|Speaker|Specification|Sponsor|Start date|State|Status|Store|Street|Study no|Subject|Supervisor|
Supplier|Task|Telephone|Temperature|Test|Time|Title|To|Total cost|Town|Type|Unit|Vehicle|Vendor|Version|Visit date|
Volume|Warehouse|Weight|Witness|Year|Zip code
""")
FORM_KINDS = _words("""
Accident Admission Application Appointment Assessment Change Claim Complaint Consent Contract Credit Delivery Enrolment
Equipment Evaluation Event Expense Fax Feedback Health Inspection Insurance Interview Inventory Leave Maintenance
Medical Membership Order Patient Permit Project Promotion Purchase Quality Quotation Registration Research Sample
Sales Shipping Specification Study Survey Test Training Transfer Travel Vehicle Visitor
""")
FORM_NOUNS = (
    "form", "report", "request", "record", "sheet", "notice", "application", "summary", "cover sheet", "authorisation",
    "questionnaire", "memorandum", "checklist", "log",
)  # fmt: skip
SECTIONS = _phrases("""
Personal details|Contact details|General information|For office use only|Part A|Part B|Section 1|Section 2|Approvals|
Payment details|Declaration|Description of work|Results|Schedule|Costs|Background|Additional information|Summary
""")
