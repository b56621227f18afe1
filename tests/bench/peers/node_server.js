// SPDX-License-Identifier: MIT
// Node's http.

const fs = require('fs');
const http = require('http');

const server = http.createServer((req, res) => {
  if (req.method === 'POST') {
    const pieces = [];
    req.on('data', (piece) => pieces.push(piece));
    req.on('end', () => res.end(Buffer.concat(pieces)));
    return;
  }
  res.setHeader('Content-Type', 'text/plain');
  res.end(req.url === '/' ? 'Hello Anonymous' : `Hello ${req.url.slice(1)}`);
});
server.keepAliveTimeout = 3600 * 1000;
fs.rmSync(process.argv[2], { force: true });
server.listen({ path: process.argv[2], backlog: 4096 });
