"""Floor 3: runs arms x seeds. It plans, distributes, caches and resumes; what a job computes is none of its business."""
