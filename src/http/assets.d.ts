/** Imported `with { type: "file" }`: the path of the file, inside the executable once compiled. */
declare module "*/socket.io.js" {
  const path: string;
  export default path;
}
declare module "*.min.js" {
  const path: string;
  export default path;
}
declare module "*.js.map" {
  const path: string;
  export default path;
}
