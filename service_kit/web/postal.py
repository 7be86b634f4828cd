"""Postal addresses: what callers send and get, and how they are stored."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from service_kit.web.fields import Line

MOST_LINES = 4
# The officially assigned two-letter codes of ISO 3166-1, as the tz database lists them in
# iso3166.tab. A code that is withdrawn may stand in addresses that are stored.
_COUNTRIES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_COUNTRIES.split())
EXAMPLE: JsonDict = {
    "lines": ["12 High Street"],
    "postal_code": "SW1A 1AA",
    "city": "London",
    "region": None,
    "country": "GB",
}


class PostalAddressData(TypedDict):
    """A postal address as it is stored and sent on."""

    lines: Annotated[list[str], Field(max_length=MOST_LINES)]
    postal_code: str | None
    city: str | None
    region: str | None
    country: str


def _is_assigned(code: str) -> str:
    if code not in COUNTRIES:
        raise ValueError("must be a country's two letters as of ISO 3166-1, such as GB")
    return code


AddressLine = Annotated[Line, Field(min_length=1, max_length=200)]
PostalCode = Annotated[Line, Field(min_length=1, max_length=20, examples=["SW1A 1AA"])]
City = Annotated[Line, Field(min_length=1, max_length=100, examples=["London"])]
Region = Annotated[Line, Field(min_length=1, max_length=100, examples=[None])]
Country = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_upper=True, pattern=r"^[A-Za-z]{2}$"),
    AfterValidator(_is_assigned),
    Field(
        max_length=2,
        description="The country's two letters as of ISO 3166-1 alpha-2.",
        examples=["GB"],
    ),
]


class PostalAddress(BaseModel):
    """A postal address. It is replaced as a whole: what is not sent is empty."""

    model_config = ConfigDict(
        extra="forbid", str_strip_whitespace=True, json_schema_extra={"examples": [EXAMPLE]}
    )

    lines: list[AddressLine] = Field(
        min_length=1,
        max_length=MOST_LINES,
        description="Street and number, and what else stands above the city.",
        examples=[["12 High Street"]],
    )
    postal_code: PostalCode | None = None
    city: City | None = None
    region: Region | None = None
    country: Country


class PostalAddressOut(BaseModel):
    """A postal address as it was sent."""

    model_config = ConfigDict(from_attributes=True)

    lines: list[Annotated[str, Field(max_length=200)]] = Field(
        max_length=MOST_LINES, examples=[["12 High Street"]]
    )
    postal_code: str | None = Field(max_length=20, examples=["SW1A 1AA"])
    city: str | None = Field(max_length=100, examples=["London"])
    region: str | None = Field(max_length=100, examples=[None])
    country: str = Field(max_length=2, examples=["GB"])
