// The one connection of a browser, whatever its tabs: a worker that they share. Each tab says which page it shows while it
// can be seen; the worker follows these pages and gives each tab what is for it. With nobody looking, nothing is open.
"use strict";

const tabs = new Map();
let source = null;
let followed = "";
let last = 0;
let wait = 1000;
let retry = 0;

function wanted() {
  return [...new Set([...tabs.values()].filter(Boolean))].sort().join("\n");
}

function tell(message) {
  for (const port of tabs.keys()) port.postMessage(message);
}

function close() {
  if (source) source.close();
  source = null;
  clearTimeout(retry);
}

function follow() {
  const topics = wanted();
  if (topics === followed && source) return;
  close();
  followed = topics;
  if (!topics) return;
  const mine = new EventSource("/live?topics=" + encodeURIComponent(topics));
  source = mine;
  last = Date.now();
  mine.onmessage = (event) => {
    last = Date.now();
    wait = 1000;
    const message = JSON.parse(event.data);
    for (const [port, topic] of tabs) {
      if (topic && (!message.topic || topic === message.topic)) port.postMessage(message);
    }
  };
  mine.onerror = () => {
    if (source !== mine) return;
    close();
    tell({ lost: true });
    retry = setTimeout(follow, wait * (0.5 + Math.random() / 2));
    wait = Math.min(wait * 2, 15000);
  };
}

// A connection may be dead without anybody having noticed. A sign of life comes every five seconds.
setInterval(() => {
  if (source && Date.now() - last > 12000) source.onerror();
}, 2000);

self.onconnect = (event) => {
  const port = event.ports[0];
  tabs.set(port, "");
  port.onmessage = ({ data }) => {
    if (data.closed) tabs.delete(port);
    else {
      tabs.set(port, data.topic);
      // A tab that comes back shows what is old: it gets all of it again.
      if (data.topic) followed = "";
    }
    follow();
  };
};
