"""`lipsync.render.composite` on a CPU: the same row by OpenCV and compiled loops, pictures as (h,w,3) float32."""
