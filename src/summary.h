/* Summary: what is said of repeated measurements. */
#ifndef LAMINA_SUMMARY_H
#define LAMINA_SUMMARY_H

struct lm_summary {
    double median, minimum, maximum;
    double quartile[2]; /* a quarter of the values are below the first, above the second */
};

/* Of n >= 1 values; between values that straddle a quantile linearly, as NumPy does. NaN
 * throughout if a value is NaN. */
struct lm_summary lm_summarize(int n, const double values[]);

#endif
