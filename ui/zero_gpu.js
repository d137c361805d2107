// On a ZeroGPU Space whose quota a call is charged to is told by headers that only Hugging Face's own page can give.
// Gradio's client asks it for them before it joins a queue, but not before it calls a component's function, which is
// how this page speaks to the server; so that is done here, the same way.
(() => {
  const PATIENCE = 2000; // milliseconds; without an answer the call goes out without headers
  const home = "https://huggingface.co";
  if (!window.location.hostname.endsWith(".hf.space") || window.parent === window) return;
  const plain = window.fetch.bind(window);
  const quota = () =>
    new Promise((resolve) => {
      const channel = new MessageChannel();
      const give = (found) => {
        channel.port1.close();
        resolve(found || {});
      };
      setTimeout(() => give(null), PATIENCE);
      channel.port1.onmessage = ({ data }) => give(data);
      window.parent.postMessage("zerogpu-headers", home, [channel.port2]);
    });
  window.fetch = async (address, options) => {
    const calls = String(address).includes("/component_server");
    if (!calls || !window.supports_zerogpu_headers) return plain(address, options);
    const given = Object.fromEntries(new Headers(options?.headers));
    return plain(address, { ...options, headers: { ...given, ...(await quota()) } });
  };
})();
