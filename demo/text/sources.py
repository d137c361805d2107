"""The Debian packages whose Russian text serves as training material (their text is never shipped with the project)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One package: ``files`` is a list of (reader name, regular expression over member names)."""

    package: str
    style: str  # formal | colloquial | heldout
    licence: str
    files: tuple[tuple[str, str], ...]


_MO = ("mo", r"/locale/ru/LC_MESSAGES/.*\.mo$")
_DOCBOOK = ("html", r"/doc/HTML/ru/.*\.docbook$")

SOURCES = (
    Source("libreoffice-help-ru", "formal", "MPL-2.0", (("html", r"/ru/.*\.html$"),)),
    Source("libreoffice-l10n-ru", "formal", "MPL-2.0", (("mo", r"/ru/LC_MESSAGES/.*\.mo$"),)),
    Source("gimp-help-ru", "formal", "GFDL-1.2+", (("html", r"/help/ru/.*\.html$"),)),
    Source("manpages-ru", "formal", "GPL-3+ and the licences of the pages", (("man", r"/man/ru/.*\.gz$"),)),
    Source("aptitude-doc-ru", "formal", "GPL-2+", (("html", r"/ru/.*\.html$"),)),
    Source("installation-guide-amd64", "formal", "GPL-2+", (("html", r"/ru/.*\.html$"),)),
    Source("debian-faq-ru", "formal", "GPL-2+", (("html", r"/FAQ/ru/.*\.html$"),)),
    Source("developers-reference-ru", "formal", "GPL-2+", (("html", r"/developers-reference/ru/.*\.html$"),)),
    Source("maint-guide-ru", "formal", "GPL-2+", (("html", r"ru\.html$"),)),
    Source("ubuntu-packaging-guide-html-ru", "formal", "CC-BY-SA-3.0", (("html", r"\.html$"),)),
    Source("doublecmd-help-ru", "formal", "GPL-2+", (("html", r"/doc/ru/.*\.html$"),)),
    Source("kicad-doc-ru", "formal", "GPL-3+ or CC-BY-3.0+", (("html", r"/help/ru/.*\.html$"),)),
    Source("stellarium-data", "formal", "GPL-2+", (("qm", r"/translations/stellarium[^/]*/ru\.qm$"),)),
    Source("gramps", "formal", "GPL-2+", (_MO,)),
    Source("digikam-data", "formal", "GPL-2+", (_MO, _DOCBOOK)),
    Source("darktable", "formal", "GPL-3+", (_MO,)),
    Source("krusader", "formal", "GPL-2+", (_MO, _DOCBOOK)),
    Source("homebank-data", "formal", "GPL-2+", (_MO,)),
    Source("wordpress-l10n", "formal", "GPL-2+", (("mo", r"/languages/(?:admin-)?ru_RU\.mo$"),)),
    Source("tuxpaint-data", "formal", "GPL-2+", (_MO, ("html", r"/ru/html/.*\.html$"))),
    Source("ktouch-data", "formal", "GPL-2+ and GFDL-1.2+", (_MO, _DOCBOOK)),
    Source("gbrainy", "formal", "GPL-2+", (_MO, ("html", r"/help/ru/.*\.page$"))),
    Source("kalzium-data", "formal", "GPL-2+ and GFDL-1.2+", (_MO, _DOCBOOK)),
    Source("kturtle", "formal", "GPL-2+ and GFDL-1.2+", (_MO, _DOCBOOK)),
    Source("wesnoth-1.16-data", "colloquial", "GPL-2+", (_MO,)),
    *(
        Source(f"wesnoth-1.16-{campaign}", "colloquial", "GPL-2+", (_MO,))
        for campaign in [
            "did",
            "dm",
            "dw",
            "ei",
            "httt",
            "l",
            "low",
            "nr",
            "sof",
            "sota",
            "sotbe",
            "thot",
            "trow",
            "tsg",
            "utbs",
        ]
    ),
    Source("freedroidrpg-data", "colloquial", "GPL-2+", (_MO, ("text", r"/titles/ru/.*\.lua$"))),
    Source("widelands-data", "colloquial", "GPL-2+", (_MO,)),
    Source("unknown-horizons", "colloquial", "GPL-2+", (("mo", r"/content/lang/ru/LC_MESSAGES/.*\.mo$"),)),
    Source("freeciv-data", "colloquial", "GPL-2+", (_MO,)),
    Source("7kaa-data", "colloquial", "GPL-3+", (_MO,)),
    Source("warzone2100-data", "colloquial", "GPL-2+", (_MO,)),
    Source("gcompris-qt-data", "colloquial", "GPL-3+", (("qm", r"gcompris_ru\.qm$"),)),
    Source("hedgewars-data", "colloquial", "GPL-2", (("qm", r"hedgewars_ru\.qm$"),)),
    Source("supertux-data", "colloquial", "GPL-3+", (("po", r"/ru\.po$"),)),
    Source("manaplus-data", "colloquial", "GPL-2+", (_MO, ("po", r"/help/ru\.po$"))),
    Source("gnome-user-docs", "heldout", "CC-BY-SA-3.0", (("html", r"/help/ru/.*\.page$"),)),
)
