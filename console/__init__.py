"""The console: the platform in a browser, for agents, clerks, operators and developers.

It is an ASGI app that the CRM mounts at /console. It imports no service: whatever it shows or
changes, it asks the public APIs for, with the token of whoever is signed in.

Add a page
----------

1. `pages/NAME.py`: a handler `async def show(visit: Visit) -> Response`, and `routes`, a list of
   `get(path, handler, needs=scope)` and `post(…)`. Add `*NAME.routes` to `app.py`.
2. `templates/NAME.html`, which extends `layout.html`; `parts.html` has what pages share: signs,
   times, cards of a service that is down, fields of a form.
3. A line in `menu.py`, with the scope without which nobody is shown it.
4. Tests in `tests/console/`, and its address among `PAGES` in `tests/node/test_console.py`, which
   looks at each in a browser: two widths, light and dark, and what axe finds.

A handler asks services through the visit: `visit.crm`, `visit.inventory`, `visit.integration`.

    found = await visit.together(
        package=visit.inventory.get("/package-requests", customer_id=uid),
        delivery=visit.integration.get(f"/deliveries/{uid}"),
    )
    return visit.render("customer.html", **found)

`together` gives, for each name, an `Answer`, a `Refused` (a problem of the API) or a `Down` (no
answer, and since when); a template asks `x is answered`, `x is refused`, `x is down`. One call
alone raises `Refused` or `Down`, which become a page of their own unless the handler catches them.

A part of a page shows news by itself where the handler begins with `await visit.follow()` and the
part says `{{ parts.live(path, "#id") }}`; with `also_others=true` if other services than the CRM
feed it. What a place of the menu says of itself is counted in `attention.py`.

What says what came of a change has `role="status"` or `"alert"` and `tabindex="-1" autofocus`: a
screen reader reads what has the focus. What leads elsewhere is a link, with the class `button`
where it looks like one.

A form posts to the console, which sends the change on and then redirects, so that reloading sends
nothing twice. Where the API refuses, show the form again: `visit.render("…", 422, problem=refused,
form=form)`. What each page asked is listed at its foot as commands for curl. GET changes nothing.
"""
