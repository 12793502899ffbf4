// Who follows a link from another site arrives without his cookie, though he is logged in (SameSite=Strict). Asked by
// this page itself the browser sends it.
const asked = await fetch("/ops", { method: "HEAD" }).catch(() => null);
if (asked?.ok) location.replace("/ops" + location.hash);
