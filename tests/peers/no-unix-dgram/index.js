exports.createSocket = () => {
  throw new Error('Unix datagram sockets are not part of the scenarios');
};
