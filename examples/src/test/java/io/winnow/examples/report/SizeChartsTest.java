package io.winnow.examples.report;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.examples.report.chart.Figure;
import io.winnow.examples.report.chart.LineChart;
import io.winnow.examples.report.result.ComparisonResult;
import java.util.List;
import org.junit.jupiter.api.Test;

class SizeChartsTest {
  private static final List<String> COLUMNS =
      List.of("method", "calibration", "seed", "bytes", "perplexity_code", "seconds");

  @Test
  void eachMethodHasALineThatBeginsAtTheWholeModelAndSeedsCountByTheirMean() {
    List<Figure> figures =
        SizeCharts.of(
            new ComparisonResult(
                COLUMNS,
                List.of(
                    List.of("unpruned", "", "", "8000000", "10", "1"),
                    List.of("reap", "code", "", "6000000", "11", "1"),
                    List.of("reap", "code", "", "4000000", "13.5", "1"),
                    List.of("random", "", "0", "6000000", "12", "1"),
                    List.of("random", "", "1", "6000000", "15", "1"))));
    assertThat(figures).hasSize(1);
    assertThat(figures.get(0).name()).isEqualTo("size-perplexity-code");
    LineChart chart = (LineChart) figures.get(0).drawing();
    assertThat(chart.lines()).extracting(LineChart.Line::name).containsExactly("reap", "random");
    assertThat(chart.lines().get(0).x()).containsExactly(4, 6, 8);
    assertThat(chart.lines().get(0).y()).containsExactly(13.5, 11, 10);
    assertThat(chart.lines().get(1).y()).containsExactly(13.5, 10);
  }

  @Test
  void withoutSizesOrPerplexitiesThereIsNoChart() {
    List<String> row = List.of("reap", "code", "", "", "", "1");
    assertThat(SizeCharts.of(new ComparisonResult(COLUMNS, List.of(row)))).isEmpty();
    assertThat(SizeCharts.of(new ComparisonResult(List.of("method"), List.of(List.of("reap")))))
        .isEmpty();
  }
}
