// The point cloud: a shader reads depth codes (report/clouds.py) and colours from two textures; nothing is read back.

(() => {
  const data = document.getElementById("clouds");
  if (!data) return;
  const pictures = JSON.parse(data.textContent);
  const canvas = document.getElementById("cloud-canvas");
  const told = document.getElementById("cloud-told");
  document.getElementById("stage").hidden = false;
  const gl = canvas.getContext("webgl2", { antialias: false });
  if (!gl) {
    canvas.hidden = true;
    told.textContent = "This browser has no WebGL 2, which draws the points.";
    return;
  }

  const VERTEX = `#version 300 es
    precision highp float;
    uniform sampler2D depths;
    uniform ivec2 grid;
    uniform float focal, near, far, middle, yaw, pitch, away, spacing;
    uniform vec2 lens;
    out vec2 at;
    void main() {
      ivec2 p = ivec2(gl_VertexID % grid.x, gl_VertexID / grid.x);
      vec2 bytes = floor(texelFetch(depths, p, 0).rg * 255.0 + 0.5);
      float code = bytes.x * 16.0 + bytes.y;
      at = (vec2(p) + 0.5) / vec2(grid);
      gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
      gl_PointSize = 1.0;
      if (code == 0.0) return;
      float z = near * pow(far / near, (code - 1.0) / 4094.0);
      vec2 xy = (vec2(p) - (vec2(grid) - 1.0) / 2.0) / focal * z;
      vec3 q = vec3(xy, z - middle);
      q = vec3(cos(yaw) * q.x + sin(yaw) * q.z, q.y, cos(yaw) * q.z - sin(yaw) * q.x);
      q = vec3(q.x, cos(pitch) * q.y - sin(pitch) * q.z, cos(pitch) * q.z + sin(pitch) * q.y);
      q.z += middle * away;
      if (q.z <= middle * 0.01) return;
      gl_Position = vec4(q.xy * vec2(1.0, -1.0) * lens / q.z, 1.0 - middle * 0.02 / q.z, 1.0);
      gl_PointSize = clamp(spacing * z / q.z, 1.0, 64.0);
    }`;
  const FRAGMENT = `#version 300 es
    precision mediump float;
    uniform sampler2D photo;
    in vec2 at;
    out vec4 color;
    void main() {
      if (length(gl_PointCoord - 0.5) > 0.5) discard;
      color = texture(photo, at);
    }`;

  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  gl.enable(gl.DEPTH_TEST);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  const place = (name) => gl.getUniformLocation(program, name);
  ["depths", "photo"].forEach((name, unit) => {
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    const filter = name === "photo" ? gl.LINEAR : gl.NEAREST;
    for (const key of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, key, filter);
    for (const key of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, key, gl.CLAMP_TO_EDGE);
    gl.uniform1i(place(name), unit);
  });

  const START = { yaw: -0.28, pitch: 0.12, away: 1.12 };
  const view = { ...START };
  let picture = pictures[0], asked = 0, queued = false;

  function draw() {
    queued = false;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    gl.clearColor(0.043, 0.055, 0.075, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    // From the camera's own place the photograph just fits the canvas.
    const pixels = Math.min(width / picture.width, height / picture.height);
    gl.uniform2i(place("grid"), picture.width, picture.height);
    for (const name of ["focal", "near", "far", "middle"]) gl.uniform1f(place(name), picture[name]);
    for (const name of ["yaw", "pitch", "away"]) gl.uniform1f(place(name), view[name]);
    gl.uniform1f(place("spacing"), pixels * 1.9);
    gl.uniform2f(place("lens"), 2 * picture.focal * pixels / width, 2 * picture.focal * pixels / height);
    gl.drawArrays(gl.POINTS, 0, picture.width * picture.height);
    canvas.dataset.drawn = String(Number(canvas.dataset.drawn || 0) + 1);
  }
  const redraw = () => { if (!queued) { queued = true; requestAnimationFrame(draw); } };

  async function upload(unit, image) {
    await image.decode();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
  }

  async function show() {
    const mine = ++asked, chosen = pictures[choose.picture.value];
    const image = new Image();
    image.src = chosen.depths[choose.depth.value].codes;
    const photo = new Image();
    photo.src = document.getElementById(chosen.photo).src;
    await Promise.all([image.decode(), photo.decode()]);
    if (mine !== asked) return; // another choice came while this one was decoded
    picture = chosen;
    await upload(0, image);
    await upload(1, photo);
    document.getElementById("cloud-range").textContent =
      `Points nearer than ${chosen.near.toPrecision(2)} m or farther than ${chosen.far.toPrecision(3)} m are left out.`;
    redraw();
  }

  const choose = { picture: document.getElementById("cloud-picture"), depth: document.getElementById("cloud-depth") };
  const fill = (select, names) => select.replaceChildren(...names.map((name, value) => new Option(name, value)));
  fill(choose.picture, pictures.map((each) => each.name));
  const refill = () => {
    const before = choose.depth.selectedOptions[0]?.text;
    const names = pictures[choose.picture.value].depths.map((each) => each.name);
    fill(choose.depth, names);
    choose.depth.value = Math.max(0, names.indexOf(before));
  };
  choose.picture.addEventListener("change", () => { refill(); Object.assign(view, START); show(); });
  choose.depth.addEventListener("change", show);
  document.getElementById("cloud-reset").addEventListener("click", () => { Object.assign(view, START); redraw(); });

  const turn = (yaw, pitch) => {
    view.yaw += yaw;
    view.pitch = Math.max(-1.5, Math.min(1.5, view.pitch + pitch));
    redraw();
  };
  const zoom = (factor) => { view.away = Math.max(0.15, Math.min(6, view.away * factor)); redraw(); };
  const fingers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    if (fingers.size === 2) {
      const [other] = [...fingers.values()].filter((each) => each.pointerId !== event.pointerId);
      const far = (point) => Math.hypot(point.clientX - other.clientX, point.clientY - other.clientY);
      zoom(far(before) / Math.max(1, far(event)));
    } else {
      turn((event.clientX - before.clientX) * -0.006, (event.clientY - before.clientY) * 0.006);
    }
    fingers.set(event.pointerId, event);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(event.deltaY * 0.0012)); }, { passive: false });
  const keys = {
    ArrowLeft: () => turn(0.08, 0), ArrowRight: () => turn(-0.08, 0), ArrowUp: () => turn(0, -0.08), ArrowDown: () => turn(0, 0.08),
    "+": () => zoom(0.9), "-": () => zoom(1.1),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  new ResizeObserver(redraw).observe(canvas);

  // Nobody waits for points that are below the fold.
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    refill();
    show();
  }, { rootMargin: "400px" }).observe(canvas);
})();
