"""The pages in a browser: they update themselves, buttons work, and everybody can use them."""

import importlib.util
import json
import re
import threading
from contextlib import contextmanager

import chromium
import pytest

from gpt_agent_fsm import Runtime, Settings, tool
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.inspector import inspector, serve
from gpt_agent_fsm.local import LocalServer, ToolCall

pytestmark = pytest.mark.skipif(bool(chromium.missing()), reason=chromium.missing())
needs_axe = pytest.mark.skipif(
    importlib.util.find_spec("axe_playwright_python") is None, reason="axe-playwright-python is not installed."
)

TOKEN = "a-token-of-the-tests"
PATIENCE = 30_000
"""Milliseconds that the browser waits for something to appear."""
NASTY = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


@tool(approve=True)
def refund(order: int, why: str) -> str:
    """Pay the price of an order back."""
    return f"Paid {order}."


class World:
    """A runtime on a server in this process, and its inspector on a socket.

    Attributes:
        url: the address of the inspector.
        answered: set it to let the model answer a message with the word "slow".
    """

    def __init__(self, runtime, url, answered):
        self.runtime, self.url, self.answered = runtime, url, answered

    def talk(self, text, state):
        """Send a message on a new thread, wait until the thread is in a state, and return the agent."""
        reached = threading.Event()

        def hear(agent, event):
            if type(event).__name__ == "StateChanged" and event.dest == state:
                reached.set()

        agent = self.runtime.start("asst_1", subscribe=hear)
        agent.add_user_message(text)
        assert reached.wait(PATIENCE / 1000)
        return agent

    def address(self, agent):
        return f"{self.url}thread?id={agent.thread_id}"


@contextmanager
def made_world():
    answered = threading.Event()

    def model(request):
        if "slow" in request.user_message:
            answered.wait(PATIENCE / 1000)
        if "refund" in request.user_message and not request.outputs:
            return [ToolCall("refund", {"order": 17, "why": NASTY})]
        return NASTY

    settings = Settings(heartbeat_interval=0.05, request_retry_delay=0.05)
    with LocalServer(model) as server:
        backend = AssistantsBackend(server.base_url, "any-key")
        with Runtime(backend, settings, tools=[refund]) as runtime, serve(inspector(runtime, token=TOKEN)) as url:
            try:
                yield World(runtime, url, answered)
            finally:
                answered.set()


@pytest.fixture
def world():
    with made_world() as world:
        yield world


@pytest.fixture(scope="module")
def browser():
    with chromium.launched() as browser:
        yield browser


@pytest.fixture
def page(browser):
    """A page that fails the test for every error of a script, and for everything that the policy of the page blocks."""
    with browser.new_page() as page:
        page.set_default_timeout(PATIENCE)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        yield page
        assert [error for error in errors if "404" not in error and "401" not in error] == []


def opened(page, address):
    """Open a page, and wait until it is live."""
    page.goto(address)
    page.locator("#link", has_text=re.compile("^live$")).wait_for()


def badge(page, state):
    return page.locator("h1 .badge", has_text=re.compile(f"^{state}$"))


# --- the list --------------------------------------------------------------------------------------------------


def test_a_person_finds_a_thread_by_its_state_and_its_id_and_opens_it(world, page):
    agents = [world.talk("Hello", "idle"), world.talk("a refund", "awaiting_tools")]
    opened(page, world.url)
    assert page.locator("tbody tr").count() == 2
    page.get_by_role("link", name=re.compile("^awaiting_tools")).click()
    page.get_by_role("link", name=agents[1].thread_id).wait_for()
    assert page.locator("tbody tr").count() == 1
    page.get_by_label("Search by id").fill("nothing")
    page.keyboard.press("Enter")
    page.get_by_text("No thread fits the filters.").wait_for()
    page.goto(world.url)
    page.get_by_label("Search by id").fill(agents[0].thread_id)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=agents[0].thread_id).click()
    page.get_by_role("heading", name=agents[0].thread_id).wait_for()
    badge(page, "idle").wait_for()


def test_a_row_of_the_list_changes_with_its_thread_and_the_change_is_read_aloud(world, page):
    agent = world.talk("slow", "running")
    opened(page, world.url)
    row = page.locator(f'tr[data-part="{agent.thread_id}"]')
    row.locator(".badge.running").wait_for()
    link = row.get_by_role("link")
    link.focus()
    world.answered.set()
    row.locator(".badge.idle").wait_for()
    page.locator("#announcer", has_text=f"{agent.thread_id}: idle").wait_for(state="attached")
    assert link.evaluate("link => link === document.activeElement")


def test_a_thread_that_is_not_on_the_page_is_counted_and_the_list_can_be_loaded_again(world, page):
    world.talk("Hello", "idle")
    opened(page, world.url)
    agent = world.talk("Hello", "idle")
    page.get_by_text("Another thread has changed.").wait_for()
    page.get_by_role("link", name="Reload the list").click()
    page.get_by_role("link", name=agent.thread_id).wait_for()


# --- a thread --------------------------------------------------------------------------------------------------


def test_the_page_of_a_thread_changes_while_a_person_reads_it(world, page):
    agent = world.talk("slow", "running")
    opened(page, world.address(agent))
    badge(page, "running").wait_for()
    page.locator("#record-1 summary").click()
    world.answered.set()
    badge(page, "idle").wait_for()
    page.locator("rect.state.idle.lit").wait_for()
    page.get_by_role("rowheader", name="RunCompleted").wait_for()
    assert page.locator("#record-1").get_attribute("open") is not None


def test_a_person_approves_a_call_without_leaving_the_page(world, page):
    agent = world.talk("a refund", "awaiting_tools")
    opened(page, world.address(agent))
    page.get_by_role("button", name="Approve").click()
    assert page.locator("#token").evaluate("field => field.matches(':invalid')")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Approve").click()
    page.get_by_text("The token is wrong.").first.wait_for()
    assert agent.open_approvals
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_label("Your name").fill("Ann")
    page.get_by_role("button", name="Approve").click()
    page.locator("[data-part=message]", has_text="The call was approved.").wait_for()
    badge(page, "idle").wait_for()
    assert page.get_by_label("Token").input_value() == TOKEN
    assert page.get_by_role("button", name="Approve").count() == 0
    page.locator(".history").get_by_text(re.compile('by="Ann"')).wait_for()


def test_the_enter_key_in_the_field_of_the_token_decides_nothing(world, page):
    agent = world.talk("a refund", "awaiting_tools")
    opened(page, world.address(agent))
    page.get_by_label("Token").fill(TOKEN)
    with page.expect_event("requestfinished", lambda request: request.method == "POST") as pressed:
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Deny").click()
    assert pressed.value.url.endswith("/thread/deny")


def test_a_person_cancels_a_run(world, page):
    agent = world.talk("slow", "running")
    opened(page, world.address(agent))
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Cancel the run").click()
    page.locator("[data-part=message]", has_text="The run is being cancelled.").wait_for()
    world.answered.set()
    page.locator(".history").get_by_text(re.compile('code="cancelled"')).first.wait_for()


def test_everything_works_without_scripts(world, browser):
    agent = world.talk("a refund", "awaiting_tools")
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(world.url)
        page.get_by_role("link", name=agent.thread_id).click()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_label("Note").fill("too late")
        page.get_by_role("button", name="Deny").click()
        page.get_by_text("The call was denied.").wait_for()
    assert agent.wait(timeout=PATIENCE / 1000) == "idle"
    history = [record.event for record in world.runtime.history(agent.thread_id)]
    assert [event.reason for event in history if type(event).__name__ == "ToolDenied"] == ["too late"]


# --- safety ----------------------------------------------------------------------------------------------------


def test_no_script_runs_from_the_text_of_a_message_or_the_arguments_of_a_call(world, page):
    agent = world.talk("a refund", "awaiting_tools")
    opened(page, world.address(agent))
    assert NASTY[:8] in page.locator(".call pre").inner_text()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Approve").click()
    badge(page, "idle").wait_for()
    page.get_by_role("rowheader", name="AssistantMessageAdded").wait_for()
    for summary in page.locator("summary").all():
        summary.click()
    assert page.locator("main img, main script").count() == 0
    assert "broken" not in page.title()


FETCHES = """async (address) => {
    const read = await fetch(address).then(() => "read", () => "refused");
    const options = {method: "POST", mode: "no-cors", body: new URLSearchParams({id: "x"})};
    const sent = await fetch(address + "thread/cancel", options).then(() => "sent", () => "refused");
    const heard = await new Promise((resolve) => {
        const stream = new EventSource(address + "events");
        stream.onopen = () => resolve("heard");
        stream.onerror = () => resolve("refused");
    });
    return [read, sent, heard];
}"""


def test_a_page_of_another_site_can_read_nothing_and_press_nothing(world, browser):
    agent = world.talk("slow", "running")
    with serve(inspector(world.runtime.store)) as foreign, browser.new_page(bypass_csp=True) as page:
        page.goto(foreign)
        read, _, heard = page.evaluate(FETCHES, world.url)
        assert (read, heard) == ("refused", "refused")
        fields = f'<input name="id" value="{agent.thread_id}"><input name="token" value="{TOKEN}">'
        page.set_content(f'<form method="post" action="{world.url}thread/cancel">{fields}<button>Win</button></form>')
        with page.expect_response(f"{world.url}thread/cancel") as pressed:
            page.get_by_role("button").click()
        assert pressed.value.status == 403
        page.get_by_text("a page of another site").wait_for()
    assert agent.state == "running"


# --- for everybody ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quiet_world():
    """A world whose threads do not change: one waits for an approval, and one is at rest."""
    with made_world() as world:
        world.talk("a refund", "awaiting_tools")
        world.talk("Hello", "idle")
        yield world


def addresses(world):
    return [world.url, *(world.address(agent) for agent in world.runtime.agents)]


@needs_axe
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_checker_of_accessibility_finds_nothing(quiet_world, browser, scheme, size):
    from axe_playwright_python.sync_playwright import Axe

    with browser.new_page(color_scheme=scheme, viewport=SIZES[size], bypass_csp=True) as page:
        for address in addresses(quiet_world):
            opened(page, address)
            page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
            found = Axe().run(page).response["violations"]
            assert found == [], json.dumps(found, indent=2)


@pytest.mark.parametrize("size", SIZES)
def test_no_page_must_be_scrolled_sideways(quiet_world, browser, size):
    with browser.new_page(viewport=SIZES[size]) as page:
        for address in addresses(quiet_world):
            opened(page, address)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_keyboard_alone_reaches_the_content_and_shows_where_it_is(quiet_world, page):
    opened(page, quiet_world.url)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    assert skip.evaluate("link => link === document.activeElement && link.getBoundingClientRect().left >= 0")
    assert skip.evaluate("link => getComputedStyle(link).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.get_by_label("Search by id").evaluate("field => field === document.activeElement")
    assert page.get_by_role("main").count() == page.get_by_role("banner").count() == 1
    assert page.get_by_role("columnheader").count() == 6
    assert page.get_by_role("rowheader").count() == 2
