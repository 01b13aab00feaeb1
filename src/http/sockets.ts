import { dlopen, ptr } from "bun:ffi";

/** The other end of a TCP connection, in one spelling: an IPv4 address in IPv6 is the IPv4 address. */
export interface Peer {
  /** Its bytes in hexadecimal digits. */
  readonly address: string;
  readonly port: number;
}

/** What the kernel knows of this process's sockets, and Bun does not tell. */
export interface Sockets {
  /** The port of this machine: that of a socket that listens, or by which a connection came. Undefined: it is no socket. */
  portOf(descriptor: number): number | undefined;
  /** Undefined: it has none, as a socket that listens. */
  peerOf(descriptor: number): Peer | undefined;
  /** False: it cannot listen, as a connection. */
  listen(descriptor: number, queue: number): boolean;
  /** Whether it is a socket that listens. */
  isListening(descriptor: number): boolean;
  /** Lets another socket that allows the same, of the same user, listen on its port. */
  sharePort(descriptor: number): void;
  /** Brings each new connection to one of the sockets that share its port: in the order in which they listened, from 0. */
  steer(descriptor: number, place: number): boolean;
  /** Ends a connection in both directions. Bun finds its end as if the other side had left, and closes the descriptor itself. */
  shutdown(descriptor: number): void;
  close(): void;
}

const ipv4 = 2;
const ipv6 = 10;
const mapped = "00000000000000000000ffff";
const bothDirections = 2;
// Linux, asm-generic/socket.h.
const SOL_SOCKET = 1;
const SO_REUSEPORT = 15;
const SO_ACCEPTCONN = 30;
const SO_ATTACH_REUSEPORT_CBPF = 51;
/** `BPF_RET | BPF_K` (linux/filter.h). */
const returnConstant = 0x06;

/** Throws where the C library cannot be loaded. For Linux. */
export function openSockets(): Sockets {
  // By this name musl, too, gives itself.
  const { symbols, close } = dlopen("libc.so.6", {
    getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
    getpeername: { args: ["i32", "ptr", "ptr"], returns: "i32" },
    getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
    setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
    listen: { args: ["i32", "i32"], returns: "i32" },
    shutdown: { args: ["i32", "i32"], returns: "i32" },
  });
  const address = Buffer.alloc(128);
  const length = new Uint32Array(1);

  /**
   * Whether the call has filled in an internet address, which is valid until the next call. Of a Unix socket, which standard
   * output may be, it fills in hardly anything, so that the address of the call before would be taken for its own.
   */
  function read(call: "getsockname" | "getpeername", descriptor: number): boolean {
    length[0] = address.length;
    if (symbols[call](descriptor, address, length) !== 0) return false;
    const family = address.readUInt16LE(0);
    return family === ipv4 || family === ipv6;
  }

  function set(descriptor: number, option: number, value: NodeJS.TypedArray): boolean {
    return symbols.setsockopt(descriptor, SOL_SOCKET, option, value, value.byteLength) === 0;
  }

  return {
    // In both families the port comes third, in network order (ip(7), ipv6(7)).
    portOf: (descriptor) => (read("getsockname", descriptor) ? address.readUInt16BE(2) : undefined),
    peerOf(descriptor) {
      if (!read("getpeername", descriptor)) return undefined;
      const isIpv6 = address.readUInt16LE(0) === ipv6;
      const bytes = isIpv6 ? address.toString("hex", 8, 24) : address.toString("hex", 4, 8);
      return { address: isIpv6 ? unmapped(bytes) : bytes, port: address.readUInt16BE(2) };
    },
    listen: (descriptor, queue) => symbols.listen(descriptor, queue) === 0,
    isListening(descriptor) {
      const listens = Int32Array.of(0);
      const size = Uint32Array.of(listens.byteLength);
      return symbols.getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, listens, size) === 0 && listens[0] === 1;
    },
    sharePort: (descriptor) => void set(descriptor, SO_REUSEPORT, Int32Array.of(1)),
    steer(descriptor, place) {
      // A `struct sock_fprog` of one instruction, which always returns this place, and behind it the instruction.
      const program = new ArrayBuffer(24);
      const view = new DataView(program);
      view.setUint16(0, 1, true);
      view.setBigUint64(8, BigInt(ptr(program)) + 16n, true);
      view.setUint16(16, returnConstant, true);
      view.setUint32(20, place, true);
      return set(descriptor, SO_ATTACH_REUSEPORT_CBPF, new Uint8Array(program, 0, 16));
    },
    shutdown: (descriptor) => void symbols.shutdown(descriptor, bothDirections),
    close,
  };
}

function unmapped(bytes: string): string {
  return bytes.startsWith(mapped) ? bytes.slice(mapped.length) : bytes;
}
