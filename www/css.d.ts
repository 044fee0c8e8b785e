/** Style sheets are bundled into main.css beside main.js. */
declare module "*.css";
