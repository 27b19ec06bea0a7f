"""The style sheet of a page: one column, tabular figures, light or dark as the reader's system is."""

CSS = """
:root{color-scheme:light dark;
--paper:#fff;--ink:#1c2024;--soft:#60666d;--faint:#8b9097;--rule:#e3e5e8;--wash:#f6f7f8;
--bar:#3b6ea8;--rest:#d9a5a0;--good:#1a7f4b;--bad:#b3332a;--gone:#fdeceb;--gone2:#f6b8b3;--came:#e9f6ee;--came2:#a9dcbd}
@media (prefers-color-scheme:dark){:root{
--paper:#15181b;--ink:#e4e6e8;--soft:#a2a8ae;--faint:#7c838a;--rule:#2d3237;--wash:#1d2125;
--bar:#6f9fd8;--rest:#84504c;--good:#5cc08b;--bad:#f0857d;--gone:#33201f;--gone2:#7a3530;--came:#1b2c22;--came2:#2b6743}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);line-height:1.5;font-size:15px;font-family:system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue","Noto Sans","Liberation Sans",Arial,sans-serif,"Hiragino Sans","Yu Gothic",
"Noto Sans CJK JP","Noto Sans JP","PingFang SC","Microsoft YaHei","Malgun Gothic","Noto Sans CJK KR","IPAGothic"}
main,header,footer{max-width:1000px;margin:0 auto;padding:0 20px}
header{padding-top:44px}
h1{font-size:27px;line-height:1.25;margin:0;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}
.lead{color:var(--soft);margin:6px 0 0;font-size:16px;max-width:75ch;overflow-wrap:anywhere}
nav{margin:20px 0 0;padding:10px 0;border:solid var(--rule);border-width:1px 0;font-size:13.5px}
nav ul{list-style:none;margin:0;padding:0;display:flex;flex-wrap:wrap;gap:2px 18px}
a{color:var(--bar);text-decoration:none}a:hover{text-decoration:underline}
h2{font-size:19px;font-weight:650;margin:44px 0 10px;padding-top:2px;letter-spacing:-.005em;overflow-wrap:anywhere}
h3,figcaption,caption{font-size:14px;font-weight:600;text-align:start;color:var(--ink)}
h3{margin:26px 0 6px;overflow-wrap:anywhere}
p{margin:6px 0;max-width:80ch;overflow-wrap:anywhere}
.good{color:var(--good)}.bad{color:var(--bad)}.dim{color:var(--soft)}.heading{font-weight:600}
dl.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:1px;background:var(--rule);
border:1px solid var(--rule);border-radius:6px;overflow:hidden;margin:22px 0}
dl.figures div{background:var(--paper);padding:12px 16px;display:flex;flex-direction:column}
dl.figures dt{order:1;font-size:12.5px;color:var(--soft)}
dl.figures dd{order:2;margin:0;font-size:23px;line-height:1.3;font-weight:600;font-variant-numeric:tabular-nums;
overflow-wrap:anywhere}
dl.figures dd.note{order:3;font-size:12.5px;font-weight:400;color:var(--faint);line-height:1.35;margin-top:1px}
.scroll{overflow-x:auto;margin:12px 0 18px}
.scroll.table{display:inline-block;vertical-align:top;max-width:100%;margin-inline-end:56px}
table{border-collapse:collapse;font-size:13.5px;line-height:1.4;font-variant-numeric:tabular-nums}
caption{padding:0 0 5px;white-space:nowrap}
th,td{padding:4px 22px 4px 0;text-align:start;vertical-align:top;border-bottom:1px solid var(--rule);font-weight:400;
overflow-wrap:anywhere;max-width:46ch}
thead th{color:var(--soft);font-size:12.5px;white-space:nowrap;border-bottom-color:var(--faint)}
th:last-child,td:last-child{padding-right:0}
.num{text-align:right;white-space:nowrap}
figure{margin:14px 0 20px}
figure .scroll{margin:0}
figcaption{margin:0 0 4px;overflow-wrap:anywhere}
.legend{font-size:12.5px;color:var(--soft);font-weight:400;margin-inline-start:12px}
.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin:0 5px 0 10px;background:var(--bar)}
.legend i.rest{background:var(--rest)}
svg.bars{display:block;width:100%;min-width:760px;height:auto;font-size:13px}
svg text{fill:var(--ink);dominant-baseline:central}
svg .label{text-anchor:end}
svg .figure{font-variant-numeric:tabular-nums}
svg .note{fill:var(--faint)}
svg .value{fill:var(--bar)}svg .rest{fill:var(--rest)}
svg .axis{stroke:var(--rule)}
svg.plot{display:block;width:100%;height:auto;font-size:12px}
svg .grid{stroke:var(--rule)}svg .tick{text-anchor:end;fill:var(--soft)}svg .tick.below{text-anchor:middle}
svg line.mark{stroke:var(--soft);stroke-dasharray:4 4}svg text.mark{fill:var(--soft)}svg text.mark.left{text-anchor:end}
svg .curve{fill:none;stroke-width:1.6;stroke-linejoin:round}
.c0{stroke:var(--bar)}.c1{stroke:var(--bad)}.c2{stroke:var(--good)}.c3{stroke:var(--soft)}
.legend i.k1{background:var(--bad)}.legend i.k2{background:var(--good)}.legend i.k3{background:var(--soft)}
.quote{margin:10px 0 14px;padding:2px 0 2px 14px;border-inline-start:3px solid var(--rule)}
.quote figcaption{font-weight:400;font-size:12.5px;color:var(--soft);margin:0}
blockquote{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font-size:13.5px;line-height:1.55;unicode-bidi:plaintext}
details{margin:2px 0;border-bottom:1px solid var(--rule)}
summary{cursor:pointer;padding:6px 0;font-size:13.5px}
summary:hover{color:var(--bar)}
details>.inside{padding:2px 0 10px 16px}
pre.diff{margin:0;padding:8px 0;background:var(--wash);border-radius:6px;font-size:12.5px;line-height:1.55;
font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace,"Noto Sans Mono CJK JP","MS Gothic";
white-space:pre-wrap;overflow-wrap:anywhere}
pre.diff span{display:block;padding:0 12px 0 32px;text-indent:-20px}
pre.diff b{display:inline-block;width:20px;text-indent:0;font-weight:400;color:var(--soft)}
pre.diff .gone{background:var(--gone)}pre.diff .came{background:var(--came)}pre.diff .between{color:var(--faint)}
pre.diff del{background:var(--gone2);text-decoration:none}pre.diff ins{background:var(--came2);text-decoration:none}
ul.tree,ul.tree ul{list-style:none;margin:0;padding:0 0 0 18px;font-size:13.5px}
pre.marked{margin:0;padding:10px 12px;background:var(--wash);border-radius:6px;font-size:12.5px;line-height:1.6;
white-space:pre-wrap;overflow-wrap:anywhere}
pre.marked span{color:var(--soft)}pre.marked ins{background:var(--came2);text-decoration:none}
pre.marked del{color:var(--faint)}
ul.tree{padding:0;margin:10px 0 18px}ul.tree ul{border-inline-start:1px solid var(--rule)}
footer{color:var(--faint);font-size:12.5px;padding-top:34px;padding-bottom:50px}
@media print{:root{color-scheme:light}body{font-size:10.5pt}nav{display:none}header{padding-top:0}
h2,h3,figcaption,caption{break-after:avoid}tr,figure:not(.diff),svg,dl.figures{break-inside:avoid}
.scroll{overflow:visible}details::details-content{content-visibility:visible;block-size:auto}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
