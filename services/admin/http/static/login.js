// Signing in: the token becomes a cookie that scripts cannot read, then the page that was asked for is shown.

import { byId, postJson } from "./common.js";

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("problem").textContent = "";
  try {
    await postJson("/api/v1/login", { token: byId("token").value.trim() });
    location.reload();
  } catch (problem) {
    byId("problem").textContent = problem.message;
    byId("token").select();
  }
});
byId("sign-in").disabled = false;
