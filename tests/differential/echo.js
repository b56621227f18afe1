// Node's http: says what it took a request for.
'use strict';
const http = require('http');

function echo(req, res) {
  let size = 0;
  req.on('data', (piece) => { size += piece.length; });
  req.on('end', () => {
    const target = Buffer.from(req.url, 'latin1').toString('hex');
    res.setHeader('X-Seen', `${req.method} ${target} ${size}`);
    res.end();
  });
}

const server = http.createServer(echo);
server.on('clientError', (error, socket) => {
  if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  else socket.destroy();
});
server.listen(process.argv[2]);
